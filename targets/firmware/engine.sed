# What the firmware needs changed in QuickJS 2025-04-26 (quickjs.c, quickjs.h): sed -E -f engine.sed. The source is pinned by its hash.

# Atomics need threads, which there are none of.
s/^#define CONFIG_ATOMICS$//

# What lies in flash has no count of references (frozen.h).
s/^typedef struct JSRefCountHeader/#include "frozen.h"\n&/
s/--([a-z][][A-Za-z0-9_.>-]*->(header\.)?ref_count)/REF_DOWN(\1)/
s/([a-z][][A-Za-z0-9_.>-]*->(header\.)?ref_count)\+\+/REF_UP(\1)/
s/([a-z][][A-Za-z0-9_.>-]*->(header\.)?ref_count)--/REF_DOWN(\1)/
s/([a-z][][A-Za-z0-9_.>-]*->(header\.)?ref_count) (==|!=|>) ([01])\b/REF_VALUE(\1) \3 \4/
# A view on a buffer in flash is not in the buffer's list, which is for buffers that get detached.
s/list_add_tail\(&ta->link, &abuf->array_list\);/if (IN_RAM(abuf)) list_add_tail(\&ta->link, \&abuf->array_list); else init_list_head(\&ta->link);/
# A string in flash does not become a name in place.
s/if \(str->atom_type == 0\)/if (str->atom_type == 0 \&\& IN_RAM(str))/

# Functions have no properties "name" and "length", and only classes have a "prototype".
s/^ +js_function_set_properties\(ctx, (func_)?obj, /(void)(/
s/JS_DefinePropertyValue\(ctx, ctor, JS_ATOM_length,/(void)(ctor, JS_ATOM_length,/
s/if \((JS_DefinePropertyValue\(ctx, func_obj, JS_ATOM_name, name_str,)/JS_FreeValue(ctx, name_str); if (0 \&\& \1/
s/^    if \(name != JS_ATOM_NULL$/    if (0/
s/else if \(b->has_prototype\)/else if (0)/

# Nothing refers to an object weakly: its count fits beside the class, which saves every object 8 bytes.
s/^    uint32_t weakref_count; *$//
s/^            uint16_t class_id; /            uint8_t class_id, weakref_count; /

# Code that nothing in the firmware reaches: import(), stack traces, functions and contexts that are freed, clamped arrays, properties
# that come into being on first use (all have, when the firmware is built), powers of fractions.
s/js_dynamic_import\(ctx, sp\[-1\]\)/JS_UNDEFINED/
s/^( +)build_backtrace\(ctx, /\1(void)(ctx, /
s/free_function_bytecode\(rt, \(JSFunctionBytecode \*\)gp\)/remove_gc_object(gp)/
s/^( +)JS_FreeContext\((js_auto|p->u)/\1(void)(\2/
s/JS_ToUint8ClampFree\(ctx, &/JS_ToInt32Free(ctx, \&/
s/^(static JSAutoInitFunc \*)js_autoinit_func_table\[\]/static JSAutoInitFunc **autoinit_functions;\n\1autoinit_table[]/
s/js_autoinit_func_table\[id\]/autoinit_functions[id]/
s/return pow\(a, b\)/return whole_power(a, b)/

# An error has a class and no text: a device answers with codes.
s/(JS_Throw(Type|Range|Reference|Syntax|Internal)Error)\(ctx, "[^"]*"/\1(ctx, ""/
s/vsnprintf\(buf, sizeof\(buf\), fmt, ap\)/pstrcpy(buf, sizeof(buf), fmt)/
s/snprintf\(buf, buf_size, "%u", (.*)\);/buf[u32toa(buf, \1)] = 0;/
s/snprintf\(buf, buf_size, "<null>"\)/*buf = 0/
