;; select with a type that the module defines, whose index is the opcode of block.
(module
  (type (func)) (type (func)) (type (func))
  (func (export "f") (result (ref null 2))
    (unreachable)
    (select (result (ref null 2)) (ref.null 2) (ref.null 2) (i32.const 0))))
(assert_trap (invoke "f") "unreachable")
