;; The local is set before the exception is thrown.
(module
  (tag $t)
  (func (export "f") (param i32) (result i32) (local i32)
    (block $h
      (try_table (catch $t $h)
        (local.set 1 (local.get 0))
        (throw $t)))
    (local.get 1)))
(assert_return (invoke "f" (i32.const 7)) (i32.const 7))
