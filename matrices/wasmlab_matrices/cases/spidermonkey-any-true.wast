;; v128.any_true of two halves whose sum is 2^64.
(module
  (func (export "f") (param v128) (result i32) (v128.any_true (local.get 0))))
(assert_return (invoke "f" (v128.const i64x2 1 -1)) (i32.const 1))
