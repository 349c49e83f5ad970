/* A context with only those built-in objects that the bundle uses: every other one costs flash. Part of engine.c. */
static const JSCFunctionListEntry function_methods[] = {
    JS_CFUNC_DEF("call", 1, js_function_call),
};
static const JSCFunctionListEntry array_functions[] = {
    JS_CFUNC_DEF("from", 1, js_array_from),
};
static const JSCFunctionListEntry array_methods[] = {
    JS_CFUNC_MAGIC_DEF("entries", 0, js_create_array_iterator, JS_ITERATOR_KIND_KEY_AND_VALUE),
    JS_CFUNC_MAGIC_DEF("every", 1, js_array_every, special_every),
    JS_CFUNC_DEF("fill", 1, js_array_fill),
    JS_CFUNC_DEF("indexOf", 1, js_array_indexOf),
    JS_CFUNC_MAGIC_DEF("map", 1, js_array_every, special_map),
    JS_CFUNC_MAGIC_DEF("push", 1, js_array_push, 0),
    JS_CFUNC_DEF("reverse", 0, js_array_reverse),
    JS_CFUNC_MAGIC_DEF("slice", 2, js_array_slice, 0),
    JS_CFUNC_MAGIC_DEF("values", 0, js_create_array_iterator, JS_ITERATOR_KIND_VALUE),
    JS_ALIAS_DEF("[Symbol.iterator]", "values"),
};
static const JSCFunctionListEntry number_functions[] = {
    JS_CFUNC_DEF("parseInt", 2, js_parseInt),
    JS_CFUNC_DEF("isFinite", 1, js_number_isFinite),
    JS_CFUNC_DEF("isInteger", 1, js_number_isInteger),
    JS_CFUNC_DEF("isNaN", 1, js_number_isNaN),
    JS_CFUNC_DEF("isSafeInteger", 1, js_number_isSafeInteger),
    JS_PROP_DOUBLE_DEF("MAX_SAFE_INTEGER", 9007199254740991.0, 0),
};
static const JSCFunctionListEntry string_functions[] = {
    JS_CFUNC_DEF("fromCodePoint", 1, js_string_fromCodePoint),
};
static const JSCFunctionListEntry string_methods[] = {
    JS_CFUNC_DEF("charCodeAt", 1, js_string_charCodeAt),
    JS_CFUNC_DEF("split", 2, js_string_split),
    JS_CFUNC_DEF("slice", 2, js_string_slice),
    JS_CFUNC_MAGIC_DEF("[Symbol.iterator]", 0, js_create_array_iterator, JS_ITERATOR_KIND_VALUE | 4),
};
static const JSCFunctionListEntry math_functions[] = {
    JS_CFUNC_MAGIC_DEF("min", 2, js_math_min_max, 0),   JS_CFUNC_MAGIC_DEF("max", 2, js_math_min_max, 1),
    JS_CFUNC_SPECIAL_DEF("abs", 1, f_f, fabs),          JS_CFUNC_SPECIAL_DEF("floor", 1, f_f, floor),
    JS_CFUNC_SPECIAL_DEF("ceil", 1, f_f, ceil),         JS_CFUNC_SPECIAL_DEF("trunc", 1, f_f, trunc),
    JS_CFUNC_SPECIAL_DEF("fround", 1, f_f, js_math_fround),
    JS_CFUNC_DEF("clz32", 1, js_math_clz32),
};
static const JSCFunctionListEntry global_objects[] = {
    JS_OBJECT_DEF("Math", math_functions, countof(math_functions), JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE),
};
static const JSCFunctionListEntry typed_array_functions[] = {
    JS_CFUNC_DEF("from", 1, js_typed_array_from),
    JS_CFUNC_DEF("of", 0, js_typed_array_of),
    JS_CGETSET_DEF("[Symbol.species]", js_get_this, NULL),
};
static const JSCFunctionListEntry typed_array_methods[] = {
    JS_CGETSET_DEF("length", js_typed_array_get_length, NULL),
    JS_CGETSET_MAGIC_DEF("buffer", js_typed_array_get_buffer, NULL, 0),
    JS_CGETSET_MAGIC_DEF("byteLength", js_typed_array_get_byteLength, NULL, 0),
    JS_CGETSET_MAGIC_DEF("byteOffset", js_typed_array_get_byteOffset, NULL, 0),
    JS_CFUNC_DEF("set", 1, js_typed_array_set),
    JS_CFUNC_MAGIC_DEF("values", 0, js_create_typed_array_iterator, JS_ITERATOR_KIND_VALUE),
    JS_ALIAS_DEF("[Symbol.iterator]", "values"),
    JS_CFUNC_MAGIC_DEF("every", 1, js_array_every, special_every | special_TA),
    JS_CFUNC_DEF("fill", 1, js_typed_array_fill),
    JS_CFUNC_DEF("slice", 2, js_typed_array_slice),
    JS_CFUNC_DEF("subarray", 2, js_typed_array_subarray),
};
static const uint8_t typed_arrays[] = {JS_CLASS_UINT8_ARRAY, JS_CLASS_INT16_ARRAY,  JS_CLASS_UINT16_ARRAY, JS_CLASS_INT32_ARRAY,
                                       JS_CLASS_UINT32_ARRAY, JS_CLASS_FLOAT32_ARRAY, JS_CLASS_FLOAT64_ARRAY};

#define ADD(context, object, list) JS_SetPropertyFunctionList(context, object, list, countof(list))

static void add_language(JSContext *ctx) {
  JSValue constructor;
  ctx->throw_type_error = JS_NewCFunction(ctx, js_throw_type_error, NULL, 0);
  ctx->global_obj = JS_NewObject(ctx);
  ctx->global_var_obj = JS_NewObjectProto(ctx, JS_NULL);
  JS_DefinePropertyValue(ctx, ctx->global_obj, JS_ATOM_globalThis, JS_DupValue(ctx, ctx->global_obj), JS_PROP_WRITABLE);
  JS_NewGlobalCConstructor(ctx, "Object", js_object_constructor, 1, ctx->class_proto[JS_CLASS_OBJECT]);
  ctx->function_ctor = JS_NULL;
  ADD(ctx, ctx->function_proto, function_methods);
  constructor = JS_NewCFunctionMagic(ctx, js_error_constructor, "Error", 1, JS_CFUNC_constructor_or_func_magic, -1);
  JS_NewGlobalCConstructor2(ctx, constructor, "Error", ctx->class_proto[JS_CLASS_ERROR]);

  ctx->iterator_proto = JS_NewObject(ctx);
  ADD(ctx, ctx->iterator_proto, js_iterator_proto_funcs);
  ADD(ctx, ctx->class_proto[JS_CLASS_ARRAY], array_methods);
  constructor = JS_NewGlobalCConstructor(ctx, "Array", js_array_constructor, 1, ctx->class_proto[JS_CLASS_ARRAY]);
  ctx->array_ctor = JS_DupValue(ctx, constructor);
  ADD(ctx, constructor, array_functions);
  ctx->array_proto_values = JS_GetProperty(ctx, ctx->class_proto[JS_CLASS_ARRAY], JS_ATOM_values);
  ctx->class_proto[JS_CLASS_ARRAY_ITERATOR] = JS_NewObjectProto(ctx, ctx->iterator_proto);
  ADD(ctx, ctx->class_proto[JS_CLASS_ARRAY_ITERATOR], js_array_iterator_proto_funcs);

  ctx->class_proto[JS_CLASS_NUMBER] = JS_NewObjectProtoClass(ctx, ctx->class_proto[JS_CLASS_OBJECT], JS_CLASS_NUMBER);
  JS_SetObjectData(ctx, ctx->class_proto[JS_CLASS_NUMBER], JS_NewInt32(ctx, 0));
  ADD(ctx, JS_NewGlobalCConstructor(ctx, "Number", js_number_constructor, 1, ctx->class_proto[JS_CLASS_NUMBER]), number_functions);

  ctx->class_proto[JS_CLASS_STRING] = JS_NewObjectProtoClass(ctx, ctx->class_proto[JS_CLASS_OBJECT], JS_CLASS_STRING);
  JS_SetObjectData(ctx, ctx->class_proto[JS_CLASS_STRING], JS_AtomToString(ctx, JS_ATOM_empty_string));
  ADD(ctx, ctx->class_proto[JS_CLASS_STRING], string_methods);
  ADD(ctx, JS_NewGlobalCConstructor(ctx, "String", js_string_constructor, 1, ctx->class_proto[JS_CLASS_STRING]), string_functions);
  ctx->class_proto[JS_CLASS_STRING_ITERATOR] = JS_NewObjectProto(ctx, ctx->iterator_proto);
  ADD(ctx, ctx->class_proto[JS_CLASS_STRING_ITERATOR], js_string_iterator_proto_funcs);
  ADD(ctx, ctx->global_obj, global_objects);
}

static void add_typed_arrays(JSContext *ctx) {
  const JSCFunctionType create = {.generic_magic = js_typed_array_constructor};
  ctx->class_proto[JS_CLASS_ARRAY_BUFFER] = JS_NewObject(ctx);
  JS_NewGlobalCConstructorOnly(ctx, "ArrayBuffer", js_array_buffer_constructor, 1, ctx->class_proto[JS_CLASS_ARRAY_BUFFER]);
  JSValue prototype = JS_NewObject(ctx);
  ADD(ctx, prototype, typed_array_methods);
  JSValue base = JS_NewCFunction2(ctx, js_typed_array_base_constructor, "TypedArray", 0, JS_CFUNC_constructor_or_func, 0);
  ADD(ctx, base, typed_array_functions);
  JS_SetConstructor(ctx, base, prototype);
  for (size_t i = 0; i < countof(typed_arrays); i++) {
    const int class = typed_arrays[i];
    char buffer[ATOM_GET_STR_BUF_SIZE];
    const char *name = JS_AtomGetStr(ctx, buffer, sizeof buffer, JS_ATOM_Uint8ClampedArray + class - JS_CLASS_UINT8C_ARRAY);
    ctx->class_proto[class] = JS_NewObjectProto(ctx, prototype);
    JS_NewGlobalCConstructor2(ctx, JS_NewCFunction3(ctx, create.generic, name, 3, JS_CFUNC_constructor_magic, class, base), name,
                              ctx->class_proto[class]);
  }
  JS_FreeValue(ctx, prototype);
  JS_FreeValue(ctx, base);
}

/* JS_NewContextRaw without its built-in objects. */
static JSContext *empty_context(JSRuntime *rt) {
  JSContext *ctx = js_mallocz_rt(rt, sizeof *ctx);
  if (!ctx || !(ctx->class_proto = js_malloc_rt(rt, sizeof *ctx->class_proto * rt->class_count))) return NULL;
  ctx->header.ref_count = 1;
  add_gc_object(rt, &ctx->header, JS_GC_OBJ_TYPE_JS_CONTEXT);
  ctx->rt = rt;
  list_add_tail(&ctx->link, &rt->context_list);
  for (int i = 0; i < rt->class_count; i++) ctx->class_proto[i] = JS_NULL;
  ctx->array_ctor = ctx->regexp_ctor = ctx->promise_ctor = JS_NULL;
  init_list_head(&ctx->loaded_modules);
  return ctx;
}

JSContext *engine_boot(JSRuntime *runtime) {
  autoinit_functions = autoinit_table;
  JSContext *context = empty_context(runtime);
  if (!context) return NULL;
  JS_AddIntrinsicBasicObjects(context);
  add_language(context);
  add_typed_arrays(context);
  return context;
}
