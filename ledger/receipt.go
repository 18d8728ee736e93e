package ledger

import (
	"encoding/binary"
	"fmt"
	"time"
)

// A Receipt is what one lease left behind, as the signed bytes that were sent: enough for
// anyone to check who did what for whom and what was paid. Only Lock is always there.
type Receipt struct {
	Lock    []byte // entry of the payer
	Claim   []byte // the one Voucher answers; without a voucher the newest
	Voucher []byte // the best
	Settle  []byte // entry of the payer
	Earn    []byte // entry of the payee

	Certificate []byte // of the witnesses for Lock, in a network that has them; its payee keeps it
}

// States of a receipt.
const (
	StateOpen     = "open"     // work may go on
	StateSettled  = "settled"  // the payer signed; a settle of zero needs no more
	StateComplete = "complete" // both signed
	StateClaimed  = "claimed"  // the payee took up the voucher, the payer has not settled
	StateExpired  = "expired"  // past its expiry, and nobody closed it
)

// A Summary is what a verified receipt says.
type Summary struct {
	ID            Digest // of the lock
	Network       Network
	Job           Digest
	Payer, Payee  Account
	Locked        Credits
	Claimed       Credits // by the claim kept
	Vouched       Credits
	Paid          Credits // settled; without a settle what the payee took up
	Fuel          Fuel
	Units         uint32
	Settled       bool
	Earned        bool
	Time, Expires time.Time // of the lock
}

// State names where the lease stands at now.
func (s Summary) State(now time.Time) string {
	switch {
	case s.Settled && s.Earned:
		return StateComplete
	case s.Settled:
		return StateSettled
	case s.Earned:
		return StateClaimed
	case !now.Before(s.Expires):
		return StateExpired
	}
	return StateOpen
}

const receiptMagic = "P3R"

// Versions of the encoding.
const (
	receiptPlain     = 1
	receiptWitnessed = 2 // with a certificate
)

// MaxReceipt is the largest encoded receipt, in bytes.
const MaxReceipt = len(receiptMagic) + 1 + 6*2 + 3*SignedEntrySize + MaxClaim + SignedVoucherSize + MaxCertificate

// parts are the parts of a version, in order.
func (r *Receipt) parts(version byte) []*[]byte {
	p := []*[]byte{&r.Lock, &r.Claim, &r.Voucher, &r.Settle, &r.Earn, &r.Certificate}
	return p[:len(p)-receiptWitnessed+int(version)]
}

// Encode is the receipt as a file: "P3R", version u8, then lock, claim, voucher, settle and earn, each with
// its length before it as a big-endian uint16, zero when it is missing. Version 2 has the certificate after them,
// version 1 has none.
func (r Receipt) Encode() []byte {
	version := byte(receiptPlain)
	if len(r.Certificate) > 0 {
		version = receiptWitnessed
	}
	b := append([]byte(receiptMagic), version)
	for _, part := range r.parts(version) {
		b = binary.BigEndian.AppendUint16(b, uint16(len(*part)))
		b = append(b, *part...)
	}
	return b
}

// ParseReceipt reads what Encode wrote, strictly. It does not check signatures; Verify does.
func ParseReceipt(b []byte) (Receipt, error) {
	if len(b) > MaxReceipt || len(b) <= len(receiptMagic) || string(b[:len(receiptMagic)]) != receiptMagic {
		return Receipt{}, fmt.Errorf("not a receipt file: %w", ErrMalformed)
	}
	version := b[len(receiptMagic)]
	if version != receiptPlain && version != receiptWitnessed {
		return Receipt{}, fmt.Errorf("receipt version %d: this p3 knows versions 1 and 2; update p3: %w", version, ErrMalformed)
	}
	var r Receipt
	b = b[len(receiptMagic)+1:]
	sizes := [5]int{SignedEntrySize, SignedClaimSize, SignedVoucherSize, SignedEntrySize, SignedEntrySize}
	for i, part := range r.parts(version) {
		if len(b) < 2 {
			return Receipt{}, fmt.Errorf("receipt is cut short: %w", ErrMalformed)
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; n > len(b) || n == 0 && i == 0 || i < len(sizes) && n != 0 && n != sizes[i] && !(i == 1 && n > sizes[i] && n <= MaxClaim) {
			return Receipt{}, fmt.Errorf("receipt part %d of %d bytes: %w", i, n, ErrMalformed)
		}
		if n > 0 {
			*part = append([]byte(nil), b[:n]...)
		}
		b = b[n:]
	}
	if len(b) != 0 {
		return Receipt{}, fmt.Errorf("receipt has %d bytes too many: %w", len(b), ErrMalformed)
	}
	if version == receiptWitnessed {
		if _, err := ParseCertificate(r.Certificate); err != nil {
			return Receipt{}, fmt.Errorf("receipt: %w", err)
		}
	}
	return r, nil
}

// Verify checks, from the bytes alone, every signature, that all parts belong to the lock, its
// network and its two accounts, and that the amounts agree. Its errors say which part is wrong;
// an *UnderSettleError convicts the payer. The certificate it leaves to VerifyWitnessed, which takes the genesis.
func (r Receipt) Verify() (Summary, error) {
	lock, id, err := VerifyEntry(r.Lock)
	if err != nil {
		return Summary{}, fmt.Errorf("receipt: %w", err)
	}
	if lock.Type != TypeLock {
		return Summary{}, fmt.Errorf("receipt: starts with a %s, not a lock: %w", lock.Type, ErrMalformed)
	}
	s := Summary{ID: id, Network: lock.Network, Job: lock.Evidence, Payer: lock.Account, Payee: lock.Peer,
		Locked: lock.Amount, Time: lock.Time(), Expires: lock.Expiry()}
	for _, check := range []func(Entry, *Summary) error{r.verifyClaim, r.verifyVoucher, r.verifySettle, r.verifyEarn} {
		if err := check(lock, &s); err != nil {
			return s, fmt.Errorf("receipt %s: %w", id.Short(), err)
		}
	}
	return s, nil
}

// VerifyWitnessed checks, from the bytes alone, that a quorum of the witnesses of genesis signed the lock of a receipt that
// Verify takes, and returns how many did. ErrUnwitnessed tells that they are too few, or that the certificate is not here.
func (r Receipt) VerifyWitnessed(genesis Genesis) (signed int, err error) {
	lock, err := ParseEntry(r.Lock)
	if err != nil {
		return 0, fmt.Errorf("receipt: %w", err)
	}
	d := lock.Digest()
	network, err := genesis.ID()
	switch {
	case err != nil:
		return 0, err
	case network != lock.Network:
		return 0, &NetworkError{Want: network, Have: lock.Network}
	case r.Certificate == nil:
		return 0, fmt.Errorf("receipt %s: %w: it holds no certificate; that of its payee does", d.Short(), ErrUnwitnessed)
	}
	c, err := ParseCertificate(r.Certificate)
	if err == nil {
		err = c.Verify(genesis, lock, d, nil)
	}
	if err != nil {
		return 0, fmt.Errorf("receipt %s: %w", d.Short(), err)
	}
	return len(c), nil
}

func (r Receipt) verifyClaim(lock Entry, s *Summary) error {
	if r.Claim == nil {
		return nil
	}
	c, err := VerifyClaim(r.Claim, s.Payee)
	switch {
	case err != nil:
		return err
	case c.Lock != s.ID || c.Network != s.Network:
		return fmt.Errorf("the claim is of another lock: %w", ErrConflict)
	case c.boundUntil() <= lock.TimeMs:
		return fmt.Errorf("the claim's node was bound until before the lock: %w", ErrExpired)
	case c.Amount > lock.Amount:
		return fmt.Errorf("the claim of %s is over the lock of %s: %w", c.Amount, lock.Amount, ErrExceeds)
	}
	s.Claimed, s.Fuel, s.Units = c.Amount, c.Fuel, c.K
	return nil
}

func (r Receipt) verifyVoucher(_ Entry, s *Summary) error {
	if r.Voucher == nil {
		return nil
	}
	if r.Claim == nil {
		return fmt.Errorf("a voucher without its claim: %w", ErrConflict)
	}
	v, err := VerifyVoucher(r.Voucher, s.Payer)
	if err != nil {
		return err
	}
	c, err := ParseClaim(r.Claim)
	switch {
	case err != nil:
		return err
	case v.Lock != s.ID || v.Network != s.Network || v.K != c.K || v.Claim != c.Digest():
		return fmt.Errorf("the voucher answers another claim: %w", ErrConflict)
	case v.Amount > c.Amount:
		return fmt.Errorf("the voucher of %s is over the claim of %s: %w", v.Amount, c.Amount, ErrExceeds)
	}
	s.Vouched = v.Amount
	return nil
}

func (r Receipt) verifySettle(lock Entry, s *Summary) error {
	if r.Settle == nil {
		return nil
	}
	e, _, err := VerifyEntry(r.Settle)
	switch {
	case err != nil:
		return err
	case e.Type != TypeSettle || e.Ref != s.ID || e.Network != s.Network || e.Account != s.Payer || e.Peer != s.Payee ||
		e.Epoch == lock.Epoch && e.Seq <= lock.Seq:
		return fmt.Errorf("the settle is of another lock: %w", ErrConflict)
	case e.Amount > lock.Amount:
		return fmt.Errorf("the settle of %s is over the lock of %s: %w", e.Amount, lock.Amount, ErrExceeds)
	case e.Amount < s.Vouched:
		return &UnderSettleError{Settle: r.Settle, Voucher: r.Voucher}
	}
	s.Settled, s.Paid, s.Fuel, s.Units = true, e.Amount, e.Fuel, e.Units
	return nil
}

func (r Receipt) verifyEarn(_ Entry, s *Summary) error {
	if r.Earn == nil {
		return nil
	}
	e, _, err := VerifyEntry(r.Earn)
	switch {
	case err != nil:
		return err
	case e.Type != TypeEarn || e.Ref != s.ID || e.Network != s.Network || e.Account != s.Payee || e.Peer != s.Payer:
		return fmt.Errorf("the earn is of another lock: %w", ErrConflict)
	}
	if e.Flags&FlagVoucher != 0 {
		// A settle may exceed the voucher the payee had when it took it up.
		if most := max(s.Paid, s.Vouched); e.Amount > most {
			return fmt.Errorf("the earn of %s is over the voucher of %s: %w", e.Amount, most, ErrExceeds)
		}
	} else {
		settle, err := ParseEntry(r.Settle)
		if err != nil || settle.Digest() != e.Evidence || settle.Amount != e.Amount {
			return fmt.Errorf("the earn answers another settle: %w", ErrConflict)
		}
	}
	s.Earned = true
	if !s.Settled {
		s.Paid, s.Fuel, s.Units = e.Amount, e.Fuel, e.Units
	}
	return nil
}
