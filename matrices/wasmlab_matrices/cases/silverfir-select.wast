;; The type of this select takes two bytes.
(module
  (func $f (export "f") (result i32)
    (drop (select (result (ref 0)) (ref.func $f) (ref.func $f) (i32.const 0)))
    (i32.const 1)))
(assert_return (invoke "f") (i32.const 1))
