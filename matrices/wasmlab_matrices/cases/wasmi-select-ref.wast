;; The condition does not hold.
(module
  (func (export "f") (param i32) (result i32)
    (ref.is_null (select (result funcref) (ref.null func) (ref.func 0) (i32.ne (local.get 0) (i32.const 0))))))
(assert_return (invoke "f" (i32.const 0)) (i32.const 0))
