;; select with another type than its operands have.
(assert_invalid
  (module
    (func (export "f") (result f32)
      (select (result i32) (f32.const 0) (f32.const 0) (i32.const 0))))
  "type mismatch")
