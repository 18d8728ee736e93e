package node

// States is the reply of CallUnitStates.
type States struct {
	From   uint64 `json:"from"`
	States string `json:"states"` // one UnitState a unit
}

// Units is the reply of CallInputs.
type Units struct {
	Units uint64 `json:"units"` // the job has now
}

// Invitation is the reply of CallInvite and the body of CallJoin.
type Invitation struct {
	Invite string `json:"invite"`
}

// ErrorReply is the body of every reply with a status of 400 and above.
type ErrorReply struct {
	Error *Problem `json:"error"`
}
