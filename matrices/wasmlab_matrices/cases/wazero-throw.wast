;; The vector of an exception that carries something behind it.
(module
  (tag $t (param v128 f32))
  (func (export "f") (result v128)
    (block $h (result v128 f32)
      (try_table (catch $t $h) (throw $t (v128.const i64x2 1 2) (f32.const 3)))
      (unreachable))
    (drop)))
(assert_return (invoke "f") (v128.const i64x2 1 2))
