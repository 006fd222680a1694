package p11kit

import "fmt"

// A Code is what a function of a module returned: CKR_ and a name in PKCS#11.
type Code uint64

// The codes that have a name here, CKR_ and that in PKCS#11. Source: PKCS#11 2.40, section 5.
const (
	GeneralError            Code = 0x005
	FunctionFailed          Code = 0x006
	DeviceError             Code = 0x030
	DeviceMemory            Code = 0x031
	DeviceRemoved           Code = 0x032
	KeyHandleInvalid        Code = 0x060
	KeyFunctionNotPermitted Code = 0x068
	MechanismInvalid        Code = 0x070
	ObjectHandleInvalid     Code = 0x082
	PINIncorrect            Code = 0x0a0
	PINInvalid              Code = 0x0a1
	PINLenRange             Code = 0x0a2
	PINLocked               Code = 0x0a4
	SessionClosed           Code = 0x0b0
	SessionHandleInvalid    Code = 0x0b3
	TokenNotPresent         Code = 0x0e0
	TokenNotRecognized      Code = 0x0e1
	UserAlreadyLoggedIn     Code = 0x100
	UserNotLoggedIn         Code = 0x101
	UserPINNotInitialized   Code = 0x102
)

var codeNames = map[Code]string{
	GeneralError:            "CKR_GENERAL_ERROR",
	FunctionFailed:          "CKR_FUNCTION_FAILED",
	DeviceError:             "CKR_DEVICE_ERROR",
	DeviceMemory:            "CKR_DEVICE_MEMORY",
	DeviceRemoved:           "CKR_DEVICE_REMOVED",
	KeyHandleInvalid:        "CKR_KEY_HANDLE_INVALID",
	KeyFunctionNotPermitted: "CKR_KEY_FUNCTION_NOT_PERMITTED",
	MechanismInvalid:        "CKR_MECHANISM_INVALID",
	ObjectHandleInvalid:     "CKR_OBJECT_HANDLE_INVALID",
	PINIncorrect:            "CKR_PIN_INCORRECT",
	PINInvalid:              "CKR_PIN_INVALID",
	PINLenRange:             "CKR_PIN_LEN_RANGE",
	PINLocked:               "CKR_PIN_LOCKED",
	SessionClosed:           "CKR_SESSION_CLOSED",
	SessionHandleInvalid:    "CKR_SESSION_HANDLE_INVALID",
	TokenNotPresent:         "CKR_TOKEN_NOT_PRESENT",
	TokenNotRecognized:      "CKR_TOKEN_NOT_RECOGNIZED",
	UserAlreadyLoggedIn:     "CKR_USER_ALREADY_LOGGED_IN",
	UserNotLoggedIn:         "CKR_USER_NOT_LOGGED_IN",
	UserPINNotInitialized:   "CKR_USER_PIN_NOT_INITIALIZED",
}

// String is the name in PKCS#11, or the number.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("CKR 0x%x", uint64(c))
}

// IsLost reports whether the session, or what was known in it, is gone, so that
// another one may do.
func (c Code) IsLost() bool {
	switch c {
	case DeviceError, DeviceRemoved, KeyHandleInvalid, ObjectHandleInvalid, SessionClosed,
		SessionHandleInvalid, TokenNotPresent, TokenNotRecognized, UserNotLoggedIn:
		return true
	}
	return false
}

// A CallError says that a function of the module failed.
type CallError struct {
	Function string // without C_
	Code     Code
}

func (e *CallError) Error() string { return fmt.Sprintf("C_%s: %s", e.Function, e.Code) }

// A lostError says that the process of the module is gone or does not say
// anything that makes sense.
type lostError struct{ why string }

func (e *lostError) Error() string { return e.why }
