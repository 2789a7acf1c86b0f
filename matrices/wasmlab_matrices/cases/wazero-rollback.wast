;; What a module whose instantiation traps has written to a table before stays written.
(module $a
  (table (export "t") 16 funcref)
  (memory (export "m") 2 4)
  (func (export "f") (result i32) (ref.is_null (table.get 0 (i32.const 1)))))
(register "a" $a)
(assert_trap (module
  (import "a" "m" (memory 2 4))
  (import "a" "t" (table 16 funcref))
  (func $f)
  (elem (table 0) (i32.const 1) func $f)
  (data (i32.const 262144) ""))
  "out of bounds memory access")
(assert_return (invoke $a "f") (i32.const 0))
