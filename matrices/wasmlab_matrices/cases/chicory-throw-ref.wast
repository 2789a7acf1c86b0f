;; A trap is no exception.
(module
  (func (export "f") (result i32) (local exnref)
    (block $h (try_table (catch_all $h) (throw_ref (local.get 0))))
    (i32.const 1)))
(assert_trap (invoke "f") "null exception reference")
