;; Escape counts of a Julia set on an n by n grid, in f64.
(module
  (func $count (param $x f64) (param $y f64) (result i32) (local $i i32) (local $xx f64) (local $yy f64)
    (loop $again (result i32)
      (local.set $xx (f64.mul (local.get $x) (local.get $x)))
      (local.set $yy (f64.mul (local.get $y) (local.get $y)))
      (if (f64.gt (f64.add (local.get $xx) (local.get $yy)) (f64.const 4)) (then (return (local.get $i))))
      (local.set $y (f64.add (f64.mul (f64.mul (local.get $x) (local.get $y)) (f64.const 2)) (f64.const 0.156)))
      (local.set $x (f64.sub (f64.sub (local.get $xx) (local.get $yy)) (f64.const 0.8)))
      (br_if $again (i32.const 0) (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100)))
      (return (local.get $i))))
  (func (export "run") (param $n i32) (result i64) (local $i i32) (local $j i32) (local $sum i64) (local $step f64)
    (local.set $step (f64.div (f64.const 3) (f64.convert_i32_u (local.get $n))))
    (loop $rows
      (local.set $j (i32.const 0))
      (loop $columns
        (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (call $count
          (f64.sub (f64.mul (f64.convert_i32_u (local.get $j)) (local.get $step)) (f64.const 1.5))
          (f64.sub (f64.mul (f64.convert_i32_u (local.get $i)) (local.get $step)) (f64.const 1.5))))))
        (br_if $columns (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $n))))
      (br_if $rows (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $sum)))
