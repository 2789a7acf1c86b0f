;; memory.grow by more than there is, then an access within bounds.
(module
  (memory 1 1)
  (func (export "g") (result i32) (memory.grow (i32.const -1)))
  (func (export "f") (result i32) (i32.load (i32.const 0))))
(assert_return (invoke "g") (i32.const -1))
(assert_return (invoke "f") (i32.const 0))
