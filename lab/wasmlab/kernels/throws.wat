;; Exceptions thrown through up to seven activations, caught by tag.
(module
  (tag $a (param i64)) (tag $b)
  (func $deep (param $depth i32) (param $x i64) (result i64)
    (if (local.get $depth)
      (then (return (i64.add (i64.const 1) (call $deep (i32.sub (local.get $depth) (i32.const 1)) (local.get $x))))))
    (if (i64.eqz (i64.and (local.get $x) (i64.const 3))) (then (throw $b)))
    (throw $a (i64.mul (local.get $x) (i64.const 0x5851f42d4c957f2d))))
  (func (export "run") (param $n i32) (result i64) (local $x i64)
    (local.set $x (i64.const 1))
    (loop $again
      (local.set $x (i64.add (i64.extend_i32_u (local.get $n))
        (block $caught (result i64)
          (block $other
            (try_table (result i64) (catch $a $caught) (catch $b $other)
              (call $deep (i32.and (local.get $n) (i32.const 7)) (local.get $x)))
            (br $caught))
          (i64.rotl (local.get $x) (i64.const 7)))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
