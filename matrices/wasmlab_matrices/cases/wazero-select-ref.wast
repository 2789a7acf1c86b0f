;; select with a type that the module defines.
(module
  (type $t (func (param i32 i32)))
  (func $g (type $t))
  (global (ref $t) (ref.func $g))
  (func (export "f") (param i32) (result i32)
    (ref.is_null (select (result (ref $t)) (global.get 0) (global.get 0) (local.get 0)))))
(assert_return (invoke "f" (i32.const 0)) (i32.const 0))
