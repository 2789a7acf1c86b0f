;; table.init of nothing, from the end of a segment to the end of a table without elements.
(module
  (table 0 externref)
  (elem externref (ref.null extern) (ref.null extern))
  (func (export "f") (table.init 0 0 (i32.const 0) (i32.const 2) (i32.const 0))))
(assert_return (invoke "f"))
