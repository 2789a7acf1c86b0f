;; The label of catch_all_ref has the type (ref exn).
(module
  (tag)
  (func (export "f") (result i32)
    (block $h (result (ref exn)) (try_table (catch_all_ref $h) (throw 0)) (return (i32.const 1)))
    (ref.is_null)))
(assert_return (invoke "f") (i32.const 0))
