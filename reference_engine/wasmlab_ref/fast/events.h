/* What the build with WASMLAB_EVENTS tells of a run: the rules of the formal specification that were taken, the
 * instructions that ran, how many, and on request each of them in turn.
 *
 * It has the same handlers.  Its translator puts a note before each instruction, with the operands that decide about
 * rules in slots, and one behind those that may end in several ways.  In the other build every hook is empty. */
#ifndef WASMLAB_EVENTS_H
#define WASMLAB_EVENTS_H

#include "exec.h"

/* How an instruction ended, where several rules are about it: bits of wl_events.ops. */
#define WL_ENDS(X) \
    X(ran) X(val) X(oob) X(null) X(true) X(false) X(addr) X(zero) X(succ) X(le) X(gt) X(oob1) X(oob2) X(null1) X(null2) \
    X(fail)
#define WL_END(name) WL_END_##name,
enum { WL_ENDS(WL_END) WL_END_COUNT };

/* Rules that are not about how a straight-line instruction ended. */
#define WL_RULES(X) \
    X(LABEL_VALS, "Step_pure/label-vals") X(HANDLER_VALS, "Step_pure/handler-vals") \
    X(FRAME_VALS, "Step_pure/frame-vals") X(BLOCK, "Step_read/block") X(LOOP, "Step_read/loop") \
    X(TRY_TABLE, "Step_read/try_table") X(IF_TRUE, "Step_pure/if-true") X(IF_FALSE, "Step_pure/if-false") \
    X(BR_ZERO, "Step_pure/br-label-zero") X(BR_SUCC, "Step_pure/br-label-succ") X(BR_HANDLER, "Step_pure/br-handler") \
    X(BR_IF_TRUE, "Step_pure/br_if-true") X(BR_IF_FALSE, "Step_pure/br_if-false") \
    X(BR_TABLE_LT, "Step_pure/br_table-lt") X(BR_TABLE_GE, "Step_pure/br_table-ge") \
    X(RETURN_HANDLER, "Step_pure/return-handler") X(RETURN_LABEL, "Step_pure/return-label") \
    X(RETURN_FRAME, "Step_pure/return-frame") X(CALL, "Step_read/call") X(CALL_REF_FUNC, "Step_read/call_ref-func") \
    X(CALL_REF_NULL, "Step_read/call_ref-null") X(CALL_INDIRECT, "Step_pure/call_indirect") \
    X(RETURN_CALL, "Step_read/return_call") X(RETURN_CALL_INDIRECT, "Step_pure/return_call_indirect") \
    X(RETURN_REF_HANDLER, "Step_read/return_call_ref-handler") X(RETURN_REF_LABEL, "Step_read/return_call_ref-label") \
    X(RETURN_REF_NULL, "Step_read/return_call_ref-frame-null") \
    X(RETURN_REF_ADDR, "Step_read/return_call_ref-frame-addr") X(TABLE_GET_VAL, "Step_read/table.get-val") \
    X(TABLE_GET_OOB, "Step_read/table.get-oob") X(CAST_SUCCEED, "Step_read/ref.cast-succeed") \
    X(CAST_FAIL, "Step_read/ref.cast-fail") X(TRAP_INSTRS, "Step_pure/trap-instrs") \
    X(TRAP_LABEL, "Step_pure/trap-label") X(TRAP_FRAME, "Step_pure/trap-frame") \
    X(TRAP_HANDLER, "Step_pure/trap-handler") X(THROW_INSTRS, "Step_read/throw_ref-instrs") \
    X(THROW_LABEL, "Step_read/throw_ref-label") X(THROW_FRAME, "Step_read/throw_ref-frame") \
    X(CATCH, "Step_read/throw_ref-handler-catch") X(CATCH_REF, "Step_read/throw_ref-handler-catch_ref") \
    X(CATCH_ALL, "Step_read/throw_ref-handler-catch_all") \
    X(CATCH_ALL_REF, "Step_read/throw_ref-handler-catch_all_ref") \
    X(CATCH_NEXT, "Step_read/throw_ref-handler-next") X(CATCH_EMPTY, "Step_read/throw_ref-handler-empty") \
    X(EVAL_EXPR, "Eval_expr") X(REF_NULL, "Ref_ok/null") X(REF_I31, "Ref_ok/i31") X(REF_STRUCT, "Ref_ok/struct") \
    X(REF_ARRAY, "Ref_ok/array") X(REF_FUNC, "Ref_ok/func") X(REF_EXN, "Ref_ok/exn") X(REF_HOST, "Ref_ok/host") \
    X(REF_EXTERN, "Ref_ok/extern") X(REF_SUB, "Ref_ok/sub") X(VAL_REF, "Val_ok/ref") X(VAL_NUM, "Val_ok/num") \
    X(VAL_VEC, "Val_ok/vec") X(NUM, "Num_ok") X(VEC, "Vec_ok") X(ADDR_FUNC, "Externaddr_ok/func") \
    X(ADDR_TABLE, "Externaddr_ok/table") X(ADDR_MEM, "Externaddr_ok/mem") X(ADDR_GLOBAL, "Externaddr_ok/global") \
    X(ADDR_TAG, "Externaddr_ok/tag") X(ADDR_SUB, "Externaddr_ok/sub") X(EXTERN_FUNC, "Externtype_sub/func") \
    X(EXTERN_TABLE, "Externtype_sub/table") X(EXTERN_MEM, "Externtype_sub/mem") \
    X(EXTERN_GLOBAL, "Externtype_sub/global") X(EXTERN_TAG, "Externtype_sub/tag") X(DEF_REFL, "Deftype_sub/refl") \
    X(DEF_SUPER, "Deftype_sub/super") X(TABLETYPE, "Tabletype_sub") X(MEMTYPE, "Memtype_sub") X(TAGTYPE, "Tagtype_sub") \
    X(GLOBAL_CONST, "Globaltype_sub/const") X(GLOBAL_VAR, "Globaltype_sub/var") X(LIMITS_MAX, "Limits_sub/max") \
    X(LIMITS_EPS, "Limits_sub/eps") X(REFTYPE_NULL, "Reftype_sub/null") X(REFTYPE_NONNULL, "Reftype_sub/nonnull") \
    X(VALTYPE_NUM, "Valtype_sub/num") X(VALTYPE_VEC, "Valtype_sub/vec") X(VALTYPE_REF, "Valtype_sub/ref") \
    X(NUMTYPE, "Numtype_sub") X(VECTYPE, "Vectype_sub") X(HEAP_REFL, "Heaptype_sub/refl") \
    X(HEAP_TRANS, "Heaptype_sub/trans") X(HEAP_EQ, "Heaptype_sub/eq-any") X(HEAP_I31, "Heaptype_sub/i31-eq") \
    X(HEAP_STRUCT_EQ, "Heaptype_sub/struct-eq") X(HEAP_ARRAY_EQ, "Heaptype_sub/array-eq") \
    X(HEAP_STRUCT, "Heaptype_sub/struct") X(HEAP_ARRAY, "Heaptype_sub/array") X(HEAP_FUNC, "Heaptype_sub/func") \
    X(HEAP_DEF, "Heaptype_sub/def") X(HEAP_NONE, "Heaptype_sub/none") X(HEAP_NOFUNC, "Heaptype_sub/nofunc") \
    X(HEAP_NOEXTERN, "Heaptype_sub/noextern") X(HEAP_NOEXN, "Heaptype_sub/noexn")
#define WL_RULE(name, text) WL_RULE_##name,
typedef enum wl_rule { WL_RULES(WL_RULE) WL_RULE_COUNT } wl_rule;
enum { WL_RULE_ROOM = 256 };
_Static_assert((int)WL_RULE_COUNT <= (int)WL_RULE_ROOM, "room for all rules");

/* An instruction that ran, or what was done by one: the byte offset of its opcode tells which. */
typedef struct wl_event {
    uint32_t function, offset;
    uint32_t op;
    uint32_t kind; /* 0 the instruction itself; it 1 calls function a; 2 branches if a is not 0; 3 reads, 4 writes b
                    * bytes at a */
    uint64_t a, b;
} wl_event;

/* All that a store has seen since it was made or cleared. */
typedef struct wl_seen {
    uint64_t instructions; /* that ran, in functions; `else` and `end` are none */
    uint32_t ops[WL_OP_COUNT];
    uint8_t rules[WL_RULE_ROOM];
} wl_seen;

/* In the other build these give NULL and do nothing. */
const wl_seen *wl_store_seen(wl_store *);
void wl_store_clear(wl_store *); /* forget what was seen */
/* Keep the next `most` events; 0: none any more. */
void wl_store_trace(wl_store *, size_t most);
const wl_event *wl_store_events(wl_store *, size_t *n);
/* Names of rules and ends by number; NULL behind the last one. */
const char *wl_rule_name(unsigned rule);
const char *wl_end_name(unsigned end);

/* ---- Hooks ------------------------------------------------------------------------------------------------------- */

#ifdef WASMLAB_EVENTS
#define EVENT(hook) hook
#else
#define EVENT(hook) ((void)0)
#endif

struct wl_events;
bool wl_events_new(wl_store *); /* false: no memory */
void wl_events_free(wl_store *);
void wl_took(wl_store *, wl_rule);

/* Outside of functions. */
void wl_saw_straight(wl_store *, uint32_t op, unsigned end); /* an instruction of a constant expression or segment */
void wl_saw_constant(wl_store *, uint32_t op, int status, uint64_t top);
void wl_saw_argument(wl_store *, wl_type, const uint64_t *slots);
bool wl_saw_link(wl_store *, const wl_module *, const wl_import *, const wl_externval *); /* true */

/* While a function is translated. */
void wl_note_before(struct translator *, uint32_t op);
void wl_note_after(struct translator *);
unsigned wl_note_catch(const struct translator *, uint32_t label); /* wl_catch.edge */

/* While it runs. */
typedef struct wl_place { /* around a run within a run */
    const void *note;
    uint8_t *fp;
} wl_place;
wl_place wl_enter_run(wl_store *);
void wl_leave_run(wl_store *, wl_place, int status);
void wl_saw_thrown(wl_store *);
void wl_saw_catch(wl_store *, const wl_catch *);

#endif
