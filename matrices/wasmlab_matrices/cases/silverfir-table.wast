;; A table with an initialiser, as another module sees it.
(module $a
  (table (export "t") 2 (ref func) (ref.func 0))
  (func))
(register "a" $a)
(module
  (table (import "a" "t") 2 (ref func))
  (func (export "f") (param i32) (result funcref) (table.get 0 (local.get 0))))
(assert_return (invoke "f" (i32.const 0)) (ref.func))
