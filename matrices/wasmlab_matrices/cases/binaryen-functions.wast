;; A segment of functions has the type (ref func), as its table.
(module
  (table 2 (ref func) (ref.func 0))
  (elem (i32.const 0) func)
  (func))
