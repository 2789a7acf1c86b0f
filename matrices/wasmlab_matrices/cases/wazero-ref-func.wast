;; A function that only the initialiser of a table names outside of functions.
(module
  (table 8 12 funcref (ref.func 0))
  (func (drop (ref.func 0))))
