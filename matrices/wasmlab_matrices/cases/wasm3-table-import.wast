;; What follows the import of a table is read in its middle.
(module $a
  (table (export "t") 6 7 funcref)
  (global (export "g") i32 (i32.const 1)))
(register "a" $a)
(module
  (table (import "a" "t") 6 funcref)
  (global (import "a" "g") i32)
  (export "g" (global 0)))
