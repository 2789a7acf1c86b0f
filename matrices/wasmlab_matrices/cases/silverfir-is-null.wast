;; A local of type exnref that was not set.
(module (func (export "f") (param i32) (result i32) (local exnref) (ref.is_null (local.get 1))))
(assert_return (invoke "f" (i32.const 0)) (i32.const 1))
