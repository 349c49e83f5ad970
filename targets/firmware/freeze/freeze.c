/* Makes what the evaluated program left behind fit to lie in flash (docs/firmware.md). Part of engine.c. */
#include "freeze.h"

#define WRITABLE_MAX 64
/* For some forty shapes of the objects that the firmware makes. */
#define SHAPE_HASH_BITS 5

/* What the running firmware changes, of what was made when it was built; everything else stays in flash. */
JSRuntime *evaluated_runtime;
JSContext *evaluated_context;
const void *evaluated_writable[WRITABLE_MAX];
static size_t writable_count;

/* In place of its count of references: how much of a block's start is not looked at in flash. */
#define HEADLESS 0x70000000
static const int unseen[] = {[JS_GC_OBJ_TYPE_JS_OBJECT] = sizeof(JSRefCountHeader), [JS_GC_OBJ_TYPE_FUNCTION_BYTECODE] = sizeof(JSGCObjectHeader),
                             [JS_GC_OBJ_TYPE_VAR_REF] = sizeof(JSGCObjectHeader), [JS_GC_OBJ_TYPE_JS_CONTEXT] = 0};

/* Stays in RAM. */
static void keep_writable(const void *block) {
  if (writable_count + 1 == WRITABLE_MAX) abort();
  evaluated_writable[writable_count++] = block;
}

static int is_blank(const JSArrayBuffer *buffer) {
  for (int i = 0; i < buffer->byte_length; i++)
    if (buffer->data[i]) return 0;
  return buffer->byte_length > 0;
}

static int is_function(JSValueConst value) {
  if (JS_VALUE_GET_TAG(value) != JS_TAG_OBJECT) return 0;
  const int class = JS_VALUE_GET_OBJ(value)->class_id;
  return class == JS_CLASS_BYTECODE_FUNCTION || class == JS_CLASS_C_FUNCTION;
}

/* Made by a class of the program, and no prototype. */
static int is_instance(JSObject *object) {
  JSObject *prototype = object->shape->proto;
  JSProperty *constructor;
  return object->class_id == JS_CLASS_OBJECT && prototype && find_own_property(&constructor, prototype, JS_ATOM_constructor) &&
         JS_GetOpaque(constructor->u.value, JS_CLASS_BYTECODE_FUNCTION) && !find_own_property1(object, JS_ATOM_constructor);
}

/* Built-in properties come into being on first use, which would write to flash. */
static void make_properties(JSContext *context, JSObject *object) {
  for (int i = 0; i < object->shape->prop_count; i++) {
    JSShapeProperty *property = &get_shape_prop(object->shape)[i];
    if ((property->flags & JS_PROP_TMASK) == JS_PROP_AUTOINIT)
      JS_AutoInitProperty(context, object, property->atom, &object->prop[i], property);
  }
}

static void freeze_object(JSContext *context, JSObject *object) {
  make_properties(context, object);
  if (is_instance(object)) {
    /* Flash refers to it for ever. */
    object->header.ref_count++;
    keep_writable(object);
    keep_writable(object->prop);
  } else {
    object->prop = js_realloc(context, object->prop, object->shape->prop_count * sizeof *object->prop);
  }
  /* One that is blank is there to be written; one that is not is a table. */
  if (object->class_id == JS_CLASS_ARRAY_BUFFER && is_blank(object->u.array_buffer)) keep_writable(object->u.array_buffer->data);
}

/* Names that only messages and debuggers show. */
static void forget_names(JSContext *context, JSFunctionBytecode *function) {
  for (int i = 0; i < function->closure_var_count; i++) {
    JS_FreeAtom(context, function->closure_var[i].var_name);
    function->closure_var[i].var_name = JS_ATOM_NULL;
  }
  JS_FreeAtom(context, function->func_name);
  function->func_name = JS_ATOM_NULL;
}

/* Classes that nothing can make an object of. */
static void forget_classes(JSContext *context) {
  for (int i = JS_CLASS_BOOLEAN; i < context->rt->class_count; i++)
    if (JS_IsNull(context->class_proto[i]) && i != JS_CLASS_FOR_IN_ITERATOR && i != JS_CLASS_ARGUMENTS && i != JS_CLASS_C_FUNCTION)
      memset(&context->rt->class_array[i], 0, sizeof(JSClass));
}

static int kept_writable(const void *block) {
  for (size_t i = 0; i < writable_count; i++)
    if (evaluated_writable[i] == block) return 1;
  return 0;
}

static void mark_atom(uint8_t *named, JSAtom atom) {
  if (atom < JS_ATOM_END) named[atom] = 1;
}

static void mark_atoms(uint8_t *named, JSGCObjectHeader *header) {
  if (header->gc_obj_type == JS_GC_OBJ_TYPE_SHAPE) {
    JSShape *shape = (JSShape *)header;
    for (int i = 0; i < shape->prop_count; i++) mark_atom(named, shape->prop[i].atom);
  }
  if (header->gc_obj_type == JS_GC_OBJ_TYPE_FUNCTION_BYTECODE) {
    JSFunctionBytecode *function = (JSFunctionBytecode *)header;
    for (const uint8_t *code = function->byte_code_buf, *end = code + function->byte_code_len; code < end;) {
      const JSOpCode *operation = &short_opcode_info(*code);
      if (operation->fmt >= OP_FMT_atom && operation->fmt <= OP_FMT_atom_label_u16) mark_atom(named, get_u32(code + 1));
      code += operation->size;
    }
  }
}

/* The engine knows two hundred names by their numbers. Without the texts of those that the program does not write, they stay that. */
static void forget_atoms(JSRuntime *runtime) {
  uint8_t named[JS_ATOM_END] = {0};
  struct list_head *entry;
  list_for_each(entry, &runtime->gc_obj_list) mark_atoms(named, list_entry(entry, JSGCObjectHeader, link));
  for (int i = 0; i < runtime->atom_hash_size; i++)
    for (uint32_t *link = &runtime->atom_hash[i]; *link;) {
      JSAtomStruct *atom = runtime->atom_array[*link];
      if (*link < JS_ATOM_END && !named[*link] && *link != JS_ATOM_empty_string) {
        runtime->atom_array[*link] = runtime->atom_array[JS_ATOM_empty_string];
        *link = atom->hash_next;
      } else {
        link = &atom->hash_next;
      }
    }
}

/* Cuts the table of names to what is in use, with the gaps in it free for new ones. */
static void trim_atoms(JSContext *context) {
  JSRuntime *runtime = context->rt;
  int size = runtime->atom_size;
  while (atom_is_free(runtime->atom_array[size - 1])) size--;
  runtime->atom_array = js_realloc(context, runtime->atom_array, size * sizeof *runtime->atom_array);
  runtime->atom_size = size;
  runtime->atom_free_index = 0;
  for (int i = size - 1; i > 0; i--) {
    JSAtomStruct **atom = &runtime->atom_array[i];
    if (atom_is_free(*atom)) {
      *atom = atom_set_free(runtime->atom_free_index);
      runtime->atom_free_index = i;
    } else {
      (*atom)->header.ref_count = HEADLESS + sizeof(JSRefCountHeader);
    }
  }
  /* A larger table of hashes would write to the names in flash. */
  runtime->atom_count_resize = INT32_MAX;
}

/* Shapes are found by the address of a prototype, which is another in flash: new objects get new ones. */
static void forget_shapes(JSRuntime *runtime) {
  memset(runtime->shape_hash, 0, runtime->shape_hash_size * sizeof *runtime->shape_hash);
  runtime->shape_hash_count = 0;
  resize_shape_hash(runtime, SHAPE_HASH_BITS);
}

static int is_constant(const JSGCObjectHeader *header) {
  return header->gc_obj_type != JS_GC_OBJ_TYPE_VAR_REF || is_function(((const JSVarRef *)header)->value);
}

/* The garbage collector does not see what lies in flash. @returns where the next variable's value goes */
static JSValue *freeze_header(JSGCObjectHeader *header, JSValue *cell) {
  if (!is_constant(header)) {
    JSVarRef *variable = (JSVarRef *)header;
    *cell = variable->value;
    variable->pvalue = cell++;
  }
  if (header->gc_obj_type == JS_GC_OBJ_TYPE_SHAPE) {
    JSShape *shape = (JSShape *)header;
    shape->hash = 0;
    shape->shape_hash_next = NULL;
  }
  list_del(&header->link);
  header->link.next = header->link.prev = NULL;
  if (unseen[header->gc_obj_type] && !kept_writable(header)) header->ref_count = HEADLESS + unseen[header->gc_obj_type];
  return cell;
}

void engine_freeze(JSContext *context) {
  JSRuntime *runtime = context->rt;
  struct list_head *entry, *next;
  size_t variables = 0;
  JS_RunGC(runtime);
  list_for_each(entry, &runtime->gc_obj_list) {
    JSGCObjectHeader *header = list_entry(entry, JSGCObjectHeader, link);
    if (header->gc_obj_type == JS_GC_OBJ_TYPE_JS_OBJECT) freeze_object(context, (JSObject *)header);
    if (header->gc_obj_type == JS_GC_OBJ_TYPE_FUNCTION_BYTECODE) forget_names(context, (JSFunctionBytecode *)header);
    variables += !is_constant(header);
  }
  forget_atoms(runtime);
  JSValue *values = js_malloc(context, variables * sizeof *values), *value = values;
  list_for_each_safe(entry, next, &runtime->gc_obj_list) {
    JSGCObjectHeader *header = list_entry(entry, JSGCObjectHeader, link);
    if (header != &context->header) value = freeze_header(header, value);
  }
  trim_atoms(context);
  forget_shapes(runtime);
  forget_classes(context);
  runtime->mf = engine_allocator;
  evaluated_runtime = runtime;
  evaluated_context = context;
  const void *const writable[] = {runtime,           context, context->class_proto, runtime->atom_array, runtime->atom_hash,
                                  runtime->shape_hash, values};
  for (size_t i = 0; i < countof(writable); i++) keep_writable(writable[i]);
}
