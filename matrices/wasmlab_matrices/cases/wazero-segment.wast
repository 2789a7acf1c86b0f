;; An active segment that does not fit its table.
(assert_trap
  (module (table 5 6 funcref) (elem (i32.const 6) func))
  "out of bounds table access")
