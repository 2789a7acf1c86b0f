;; At 16 there is 0, at 8 there is not.
(module
  (memory 1 1 shared)
  (func (export "f") (result i32)
    (i32.store (i32.const 8) (i32.const 5))
    (memory.atomic.wait32 offset=8 (i32.const 8) (i32.const 0) (i64.const 0))))
(assert_return (invoke "f") (i32.const 2))
