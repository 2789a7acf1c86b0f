;; An imported table whose maximum is below its minimum.
(assert_invalid
  (module (import "nowhere" "x" (table 2 1 funcref)))
  "size minimum must not be greater than maximum")
