;; One tag, imported twice.
(module $m (tag (export "t")))
(register "m" $m)
(module
  (import "m" "t" (tag $a))
  (import "m" "t" (tag $b))
  (func (export "f") (result i32)
    (block $caught
      (block $other
        (try_table (catch $a $caught) (catch_all $other) (throw $b))
        (unreachable))
      (return (i32.const 0)))
    (i32.const 1)))
(assert_return (invoke "f") (i32.const 1))
