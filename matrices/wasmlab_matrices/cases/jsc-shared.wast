;; A shared memory that cannot grow.
(module (memory (export "m") 1 1 shared)
  (func (export "f") (result i32) (memory.size)))
(assert_return (invoke "f") (i32.const 1))
