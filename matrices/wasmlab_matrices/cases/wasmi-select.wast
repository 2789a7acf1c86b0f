;; A comparison whose result is dropped, before a select on i32.eqz.
(module
  (func (export "f") (param i32 i32 i32) (result i32)
    (local.get 0)
    (drop (i32.eqz (local.get 1)))
    (select (i32.const 8) (i32.eqz (local.get 2)))))
(assert_return (invoke "f" (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const 1))
