;; A chain of 64-bit shifts, rotations, multiplications and exclusive ors.
(module
  (func (export "run") (param $n i32) (result i64) (local $x i64)
    (local.set $x (i64.const 0x9e3779b97f4a7c15))
    (loop $again
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.add (i64.rotl (local.get $x) (i64.const 17)) (i64.extend_i32_u (local.get $n))))
      (local.set $x (i64.mul (local.get $x) (i64.const 0x2545f4914f6cdd1d)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
