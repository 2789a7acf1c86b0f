;; A function with a parameter throws; the local of the one that catches is 9.
(module
  (tag $e (param f32))
  (func $t (param f32) (throw $e (local.get 0)))
  (func (export "f") (param i32) (result i32)
    (block $h (try_table (catch_all $h) (call $t (f32.const 1))))
    (local.get 0)))
(assert_return (invoke "f" (i32.const 9)) (i32.const 9))
