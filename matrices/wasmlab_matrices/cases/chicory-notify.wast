;; An address that is no multiple of four.
(module
  (memory 1 1 shared)
  (func (export "f") (result i32) (memory.atomic.notify (i32.const 1) (i32.const 0))))
(assert_trap (invoke "f") "unaligned atomic")
