;; One program, many ends: the byte on stdin says which function of the table runs. What traps
;; does so in the middle of a function that has charged fuel before, between stores that a
;; compiler would like to merge. Built with wat2wasm of wabt.
(module
  (type $end (func))
  (type $other (func (param i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1 4)
  (table 40 funcref)
  (table $small 1 6 funcref)
  (global $n (mut i32) (i32.const 0))
  (global $f (mut f64) (f64.const 0))
  (data (i32.const 16) "\00\01\00\00\10\00\00\00") ;; 16 bytes at 256
  (data $segment "passive")
  (elem (i32.const 0) $store $load $storeloop $loadloop $div $rem $overflow $nan $big $null $mismatch $range $fill $copy $init
    $dropped $deepest $mutual $grow $nans $other $far $exits $leaves $rand $merge $offset $sat $minmax $hostile $values $tables)

  (func $some (param i32) (result i32) (i32.add (local.get 0) (global.get $n)))

  ;; 0: a store beyond memory after one inside
  (func $store
    (i32.store (i32.const 0) (i32.const 1))
    (global.set $n (i32.const 5))
    (if (i32.load (i32.const 0)) (then (i32.store (i32.const 65533) (i32.const 2))))
    (i32.store (i32.const 4) (i32.const 3)))
  ;; 1: a load whose value nobody needs
  (func $load
    (i32.store (i32.const 0) (i32.const 1))
    (drop (i64.load (i32.add (i32.load (i32.const 0)) (i32.const 65528))))
    (i32.store (i32.const 4) (i32.const 3)))
  ;; 2, 3: loops that run off the end
  (func $storeloop (local i32)
    (loop (i32.store8 (local.get 0) (i32.const 7)) (local.set 0 (i32.add (local.get 0) (i32.const 3))) (br 0)))
  (func $loadloop (local i32 i32)
    (loop
      (local.set 1 (i32.add (local.get 1) (i32.load (local.get 0))))
      (local.set 0 (i32.add (local.get 0) (i32.const 12)))
      (br_if 0 (i32.lt_u (local.get 0) (i32.const 1000000)))))
  ;; 4 to 8: arithmetic
  (func $div (global.set $n (i32.div_s (i32.const 1) (global.get $n))))
  (func $rem (global.set $n (i32.rem_u (call $some (i32.const 3)) (global.get $n))))
  (func $overflow (global.set $n (i32.div_s (i32.const 0x80000000) (i32.sub (global.get $n) (i32.const 1)))))
  (func $nan (global.set $n (i32.trunc_f64_s (f64.div (global.get $f) (global.get $f)))))
  (func $big (global.set $n (i32.trunc_f32_u (f32.add (f32.const 4294967296) (f32.convert_i32_u (global.get $n))))))
  ;; 9 to 11: tables
  (func $null (call_indirect (type $end) (i32.const 39)))
  (func $mismatch (call_indirect (type $other) (i32.const 1) (i32.const 0)))
  (func $range (call_indirect (type $end) (i32.add (call $some (i32.const 40)) (i32.const 0))))
  ;; 12 to 14: bulk memory, which writes nothing when it traps
  (func $fill (memory.fill (i32.const 65000) (i32.const 1) (i32.const 537)))
  (func $copy (memory.copy (i32.const 0) (i32.const 65530) (i32.const 7)))
  (func $init (memory.init $segment (i32.const 0) (i32.const 3) (i32.const 5)))
  ;; 15: a dropped segment is empty
  (func $dropped (data.drop $segment) (memory.init $segment (i32.const 0) (i32.const 0) (i32.const 1)))
  ;; 16, 17: recursion, with a large frame and through the table
  (func $deep (param f64 f64 f64 f64 i64 i64 i64 i64) (result f64) (local f64 f64 f64 f64)
    (local.set 8 (f64.add (local.get 0) (local.get 1)))
    (local.set 9 (f64.mul (local.get 2) (local.get 3)))
    (local.set 10 (f64.sub (local.get 8) (local.get 9)))
    (f64.add (f64.add (local.get 8) (local.get 9)) (f64.add (local.get 10)
      (call $deep (local.get 1) (local.get 2) (local.get 3) (local.get 10) (local.get 5) (local.get 6) (local.get 7) (local.get 4)))))
  (func $deepest (global.set $f (call $deep (f64.const 1) (f64.const 2) (f64.const 3) (f64.const 4) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4))))
  (func $mutual (global.set $n (i32.add (global.get $n) (i32.const 1))) (call_indirect (type $end) (i32.const 17)) (global.set $n (i32.const 0)))
  ;; 18: growing within the limit, beyond it, and by nothing; the answers are shown
  (func $grow
    (i32.store (i32.const 256) (memory.grow (i32.const 2)))
    (i32.store (i32.const 196604) (i32.const 9))
    (i32.store (i32.const 260) (memory.grow (i32.const 2)))
    (i32.store (i32.const 264) (memory.grow (i32.const -1)))
    (i32.store (i32.const 268) (i32.add (memory.grow (i32.const 0)) (memory.size)))
    (call $show))
  ;; 19: NaNs, as bits
  (func $nans
    (f64.store (i32.const 256) (f64.neg (f64.div (global.get $f) (global.get $f))))
    (f32.store (i32.const 264) (f32.sub (f32.demote_f64 (f64.div (f64.const 1) (global.get $f))) (f32.const inf)))
    (f32.store (i32.const 268) (f32.sqrt (f32.sub (f32.convert_i32_s (global.get $n)) (f32.const 1))))
    (call $show)
    (f64.store (i32.const 256) (f64.const -nan:0x4000000000001))
    (f64.store (i32.const 264) (f64.load (i32.const 256)))
    (call $show)
    (i64.store (i32.const 256) (i64.reinterpret_f64 (f64.copysign (f64.const 1) (f64.div (global.get $f) (global.get $f)))))
    (f64.store (i32.const 264) (f64.neg (f64.load (i32.const 256))))
    (call $show))
  (func $other (param i32))
  ;; 21: an address and an offset that together pass 4 GiB
  (func $far (drop (i32.load offset=4294967295 (i32.const -1))))
  ;; 22, 23: ends by itself
  (func $exits (call $exit (i32.const 7)))
  (func $leaves)
  ;; 24: half the answer of a call is outside
  (func $rand (global.set $n (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 65533))) (call $exit (global.get $n)))
  ;; 25: stores of fuel that nothing reads but a trap
  (func $merge (local i32)
    (loop
      (i32.store (local.get 0) (i32.const 1))
      (if (i32.and (local.get 0) (i32.const 4)) (then (i32.store offset=8 (local.get 0) (i32.const 2))) (else (i32.store offset=4 (local.get 0) (i32.const 3))))
      (i32.store offset=16 (local.get 0) (i32.const 4))
      (local.set 0 (i32.add (local.get 0) (i32.const 20)))
      (br 0)))
  ;; 26: the last bytes, and one further
  (func $offset (i64.store offset=65528 (i32.const 0) (i64.const -1)) (i64.store offset=65529 (i32.const 0) (i64.const -1)))
  ;; 27: saturating conversions
  (func $sat
    (i32.store (i32.const 256) (i32.trunc_sat_f64_s (f64.div (global.get $f) (global.get $f))))
    (i32.store (i32.const 260) (i32.trunc_sat_f64_u (f64.const -5)))
    (i64.store (i32.const 264) (i64.trunc_sat_f32_s (f32.const -inf)))
    (call $show))
  ;; 28: minimum and maximum of zeros
  (func $minmax
    (f64.store (i32.const 256) (f64.min (f64.neg (global.get $f)) (global.get $f)))
    (f64.store (i32.const 264) (f64.max (f64.neg (global.get $f)) (global.get $f)))
    (call $show))
  ;; 29: host calls with wild pointers
  (func $hostile
    (global.set $n (i32.add (global.get $n) (call $write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 0))))
    (global.set $n (i32.add (global.get $n) (call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 0))))
    (global.set $n (i32.add (global.get $n) (call $write (i32.const 99) (i32.const 16) (i32.const 1) (i32.const 0))))
    (global.set $n (i32.add (global.get $n) (call $write (i32.const 1) (i32.const 16) (i32.const 0) (i32.const 65536))))
    (call $exit (global.get $n)))

  ;; 30: several values from a function and into a block
  (func $pair (param i32) (result i64 f32) (i64.extend_i32_s (local.get 0)) (f32.convert_i32_s (local.get 0)))
  (func $values (local f32 i64)
    (call $pair (i32.const -3))
    (local.set 0)
    (i64.const 7)
    (block (param i64 i64) (result i64) (i64.sub) (br_if 0 (i32.eqz (global.get $n))) (drop) (i64.const 5))
    (local.set 1)
    (i64.store (i32.const 256) (local.get 1))
    (f32.store (i32.const 264) (local.get 0))
    (call $show))
  ;; 31: a table that grows within its limit and beyond, is filled, copied and read past its end
  (func $tables
    (i32.store (i32.const 256) (table.grow $small (ref.func $leaves) (i32.const 3)))
    (i32.store (i32.const 260) (table.grow $small (ref.null func) (i32.const 3)))
    (table.fill $small (i32.const 1) (ref.null func) (i32.const 1))
    (table.copy $small 0 (i32.const 0) (i32.const 23) (i32.const 1))
    (i32.store (i32.const 264) (ref.is_null (table.get $small (i32.const 1))))
    (call_indirect $small (type $end) (i32.const 0))
    (call_indirect $small (type $end) (i32.const 3))
    (i32.store (i32.const 268) (table.size $small))
    (call $show)
    (table.set $small (i32.const 4) (ref.null func)))

  (func $show (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8))))
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 12))
    (i32.store (i32.const 4) (i32.const 1))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call_indirect (type $end) (i32.load8_u (i32.const 12))))
  (export "*/ int injected; /*" (func $other)))
