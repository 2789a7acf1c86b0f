;; A global that is mutable is no constant expression.
(assert_invalid
  (module
    (table 8 8 funcref)
    (global (mut i32) (i32.const 255))
    (elem (offset (global.get 0)) func))
  "constant expression required")
