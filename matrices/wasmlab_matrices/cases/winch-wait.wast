;; A global's value below what memory.atomic.wait64 takes, and a constant after it.
(module
  (memory 1 1 shared)
  (global (mut i64) (i64.const -13))
  (func (export "f") (result i64 i32 i32)
    (global.get 0)
    (memory.atomic.wait64 (i32.const 8) (i64.const 0) (i64.const 0))
    (i32.const 7)))
(assert_return (invoke "f") (i64.const -13) (i32.const 2) (i32.const 7))
