;; What relaxed_madd gives is used as a vector of integers.
(module
  (func (export "f") (param v128) (result v128)
    (v128.xor
      (local.get 0)
      (f32x4.relaxed_madd (local.get 0) (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0)))))
(assert_return (invoke "f" (v128.const i32x4 0 0 0 0)) (v128.const i32x4 0 0 0 0))
