;; An element segment of exnref.
(module
  (table 1 exnref)
  (elem (i32.const 0) exnref (ref.null exn))
  (func (export "f") (result i32) (ref.is_null (table.get 0 (i32.const 0)))))
(assert_return (invoke "f") (i32.const 1))
