;; An operand below those of table.copy.
(module
  (table 16 20 funcref)
  (global (mut i32) (i32.const -10))
  (func (export "f")
    (global.get 0)
    (table.copy 0 0 (i32.const 0) (i32.const 0) (i32.const 0))
    (drop (i32.sub (i32.const 0)))))
(assert_return (invoke "f"))
