;; A signalling NaN comes out quiet.
(module (func (export "f") (param v128) (result v128) (f32x4.min (local.get 0) (v128.const f32x4 0 0 0 0))))
(assert_return (invoke "f" (v128.const f32x4 nan:0x200000 1 1 1)) (v128.const f32x4 nan:arithmetic 0 0 0))
