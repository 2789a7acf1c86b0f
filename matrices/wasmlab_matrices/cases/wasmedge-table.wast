;; An element of an imported table, whose type is one of the module that defines the table, is asked for its type.
(module $a
  (rec
    (type (;0;) (func (param (ref i31)) (result f64)))
    (type (;1;) (sub (struct (field (mut i64)) (field f64))))
    (type (;2;) (sub (struct (field (mut (ref null 2))))))
  )
  (type (;3;) (sub (struct (field (mut f64)) (field (mut funcref)) (field (mut (ref null 0))) (field (mut i16)))))
  (table (;0;) 10 11 (ref null 3))
  (export "t2" (table 0))
)
(register "a" $a)
(module $b
  (rec
    (type (;0;) (func (param (ref i31)) (result f64)))
    (type (;1;) (sub (struct (field (mut i64)) (field f64))))
    (type (;2;) (sub (struct (field (mut (ref null 2))))))
  )
  (type (;3;) (sub (struct (field (mut f64)) (field (mut funcref)) (field (mut (ref null 0))) (field (mut i16)))))
  (type (;4;) (func (param anyref anyref) (result i32)))
  (type (;5;) (func))
  (import "a" "t2" (table (;0;) 10 11 (ref null 3)))
  (export "run" (func 1))
  (func (;0;) (type 4)
    local.get 0
    ref.test (ref struct)
  )
  (func (;1;) (type 5)
    (local anyref)
    i32.const 0
    table.get 0
    local.get 0
    call 0
    drop
  )
)
(assert_return (invoke $b "run"))
