;; An element segment that does not fit is a trap, before any data segment is written.
(module $a
  (table (export "t") 10 14 funcref)
  (memory (export "m") 1)
  (func (export "f") (result i32) (i32.load (i32.const 0))))
(register "a" $a)
(assert_trap
  (module
    (import "a" "m" (memory 1))
    (import "a" "t" (table 10 14 funcref))
    (start $s)
    (func $s (call_indirect (i32.const 0)))
    (elem (table 0) (i32.const 14) func)
    (data (i32.const 0) "\8a\14\9e"))
  "out of bounds table access")
(assert_return (invoke $a "f") (i32.const 0))
