;; A memory whose pages are bytes, and a segment of none.
(module
  (memory 65536 (pagesize 1))
  (data $d "")
  (func (export "f") (memory.init $d (i32.const 1) (i32.const 0) (i32.const 0))))
(assert_return (invoke "f"))
