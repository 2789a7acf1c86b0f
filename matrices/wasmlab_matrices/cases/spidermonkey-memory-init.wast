;; memory.init of a dropped segment with length 0 at an address behind the memory's end.
(module
  (memory i64 1)
  (func (export "f") (memory.init 0 (i64.const 65537) (i32.const 0) (i32.const 0)))
  (data (i64.const 0) "a"))
(assert_trap (invoke "f") "out of bounds memory access")
