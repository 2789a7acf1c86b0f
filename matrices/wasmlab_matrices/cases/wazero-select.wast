;; select with the type exnref.
(module
  (func (export "f") (param i32) (result i32)
    (ref.is_null (select (result exnref) (ref.null exn) (ref.null exn) (local.get 0)))))
(assert_return (invoke "f" (i32.const 0)) (i32.const 1))
