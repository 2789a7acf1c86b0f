;; A vector from a memory that is imported.
(module $m (memory (export "m") 1))
(register "m" $m)
(module
  (import "m" "m" (memory 1))
  (func (export "f") (result i32) (v128.any_true (v128.load (i32.const 0)))))
(assert_return (invoke "f") (i32.const 0))
