;; A conditional branch out of the function, and a block that comes after it.
(module
  (func (export "f") (param i64 i32 i32) (result i32)
    (drop (br_if 0 (i32.const 0) (i32.const 0)))
    (block (result i32) (i32.const 1))))
(assert_return (invoke "f" (i64.const 0) (i32.const 0) (i32.const 0)) (i32.const 1))
