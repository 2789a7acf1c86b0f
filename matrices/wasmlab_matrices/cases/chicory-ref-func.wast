;; The export declares the function.
(module (func $f (export "f") (result i32) (ref.is_null (ref.func $f))))
(assert_return (invoke "f") (i32.const 0))
