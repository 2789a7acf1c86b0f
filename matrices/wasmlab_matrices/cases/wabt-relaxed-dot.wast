;; wabt: sums of small products, for which the standard leaves no choice
(module
  (func (export "f") (result v128)
    (i32x4.relaxed_dot_i8x16_i7x16_add_s
      (v128.const i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
      (v128.const i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
      (v128.const i32x4 0 1 2 3))))
(assert_return (invoke "f") (v128.const i32x4 14 127 368 737))
