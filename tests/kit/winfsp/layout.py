"""The types of winfspy's compiled bindings, with the layout they have on 64-bit Windows.

Only the fields that winfspy 0.8.4's bindings name are named here; what they leave out (the flags of the volume's
parameters, all of a stream's description, the later operations) is filled with fields that begin with `_`, so that
code which runs here finds nothing that it would miss on Windows. tests/mount/winfsp/test_layout.py compares every
size and offset with the table that MSVC compiled into the wheel. Types are WinFsp's (inc/winfsp/fsctl.h and
winfsp.h, version 2); WCHAR is 16 bits, LONG 32.
"""

from __future__ import annotations

import cffi

TYPES = """
typedef uint8_t UINT8, BOOLEAN, UCHAR;
typedef UCHAR *PUCHAR;
typedef BOOLEAN *PBOOLEAN;
typedef uint16_t UINT16, WORD, USHORT;
typedef uint32_t UINT32, ULONG, DWORD, NTSTATUS;
typedef UINT32 *PUINT32;
typedef ULONG *PULONG;
typedef DWORD *LPDWORD;
typedef NTSTATUS *PNTSTATUS;
typedef int32_t BOOL, INT32;
typedef BOOL *LPBOOL;
typedef uint64_t UINT64;
typedef size_t SIZE_T;
typedef SIZE_T *PSIZE_T;
typedef void VOID;
typedef void *PVOID, *HANDLE;
typedef char16_t WCHAR;
typedef WCHAR *PWSTR;
typedef const WCHAR *LPCWSTR;

typedef DWORD SECURITY_INFORMATION;
typedef struct { UINT64 _content[2]; } IO_STATUS_BLOCK;
typedef IO_STATUS_BLOCK *PIO_STATUS_BLOCK;
typedef struct { PVOID _content; } SRWLOCK;
typedef struct { UINT32 _content[4]; } GENERIC_MAPPING;
typedef GENERIC_MAPPING *PGENERIC_MAPPING;
typedef struct { UINT32 _content[3]; } SID;
typedef SID *PSID;
typedef struct { UINT64 _content[5]; } SECURITY_DESCRIPTOR;
typedef SECURITY_DESCRIPTOR *PSECURITY_DESCRIPTOR;
typedef WORD SECURITY_DESCRIPTOR_CONTROL;
typedef SECURITY_DESCRIPTOR_CONTROL *PSECURITY_DESCRIPTOR_CONTROL;
typedef struct { UINT32 _content[2]; } FILETIME;

typedef struct {
    UINT64 TotalSize;
    UINT64 FreeSize;
    UINT16 VolumeLabelLength;
    WCHAR VolumeLabel[32];
} FSP_FSCTL_VOLUME_INFO;

typedef struct {
    UINT32 FileAttributes;
    UINT32 ReparseTag;
    UINT64 AllocationSize;
    UINT64 FileSize;
    UINT64 CreationTime;
    UINT64 LastAccessTime;
    UINT64 LastWriteTime;
    UINT64 ChangeTime;
    UINT64 IndexNumber;
    UINT32 HardLinks;
    UINT32 _EaSize;
} FSP_FSCTL_FILE_INFO;

typedef struct {
    FSP_FSCTL_FILE_INFO FileInfo;
    PWSTR NormalizedName;
    UINT16 NormalizedNameSize;
} FSP_FSCTL_OPEN_FILE_INFO;

typedef struct {
    UINT16 Size;
    FSP_FSCTL_FILE_INFO FileInfo;
    UINT8 Padding[24];
    WCHAR FileNameBuf[];
} FSP_FSCTL_DIR_INFO;

typedef struct { UINT64 _content[3]; } FSP_FSCTL_STREAM_INFO;
typedef struct { UINT64 _content[11]; } FSP_FSCTL_TRANSACT_REQ;
typedef struct { UINT64 _content[16]; } FSP_FSCTL_TRANSACT_RSP;

typedef struct {
    UINT16 Version;
    UINT16 SectorSize;
    UINT16 SectorsPerAllocationUnit;
    UINT16 MaxComponentLength;
    UINT64 VolumeCreationTime;
    UINT32 VolumeSerialNumber;
    UINT32 TransactTimeout;
    UINT32 IrpTimeout;
    UINT32 IrpCapacity;
    UINT32 FileInfoTimeout;
    UINT32 _Flags;
    WCHAR Prefix[192];
    WCHAR FileSystemName[16];
    UINT32 _TimeoutFlags;
    UINT32 VolumeInfoTimeout;
    UINT32 DirInfoTimeout;
    UINT32 SecurityTimeout;
    UINT32 StreamInfoTimeout;
    UINT32 _EaTimeout;
    UINT32 _FsextControlCode;
    UINT32 _Reserved32[1];
    UINT64 _Reserved64[2];
} FSP_FSCTL_VOLUME_PARAMS;

typedef enum {
    FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY_FINE = 0,
    FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY_COARSE,
} FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY;

typedef struct _FSP_FILE_SYSTEM FSP_FILE_SYSTEM;

typedef struct _FSP_FILE_SYSTEM_INTERFACE {
    NTSTATUS (*GetVolumeInfo)(FSP_FILE_SYSTEM *, FSP_FSCTL_VOLUME_INFO *);
    NTSTATUS (*SetVolumeLabel)(FSP_FILE_SYSTEM *, PWSTR, FSP_FSCTL_VOLUME_INFO *);
    NTSTATUS (*GetSecurityByName)(FSP_FILE_SYSTEM *, PWSTR, PUINT32, PSECURITY_DESCRIPTOR, SIZE_T *);
    NTSTATUS (*Create)(FSP_FILE_SYSTEM *, PWSTR, UINT32, UINT32, UINT32, PSECURITY_DESCRIPTOR, UINT64,
        PVOID *, FSP_FSCTL_FILE_INFO *);
    NTSTATUS (*Open)(FSP_FILE_SYSTEM *, PWSTR, UINT32, UINT32, PVOID *, FSP_FSCTL_FILE_INFO *);
    NTSTATUS (*Overwrite)(FSP_FILE_SYSTEM *, PVOID, UINT32, BOOLEAN, UINT64, FSP_FSCTL_FILE_INFO *);
    VOID (*Cleanup)(FSP_FILE_SYSTEM *, PVOID, PWSTR, ULONG);
    VOID (*Close)(FSP_FILE_SYSTEM *, PVOID);
    NTSTATUS (*Read)(FSP_FILE_SYSTEM *, PVOID, PVOID, UINT64, ULONG, PULONG);
    NTSTATUS (*Write)(FSP_FILE_SYSTEM *, PVOID, PVOID, UINT64, ULONG, BOOLEAN, BOOLEAN, PULONG,
        FSP_FSCTL_FILE_INFO *);
    NTSTATUS (*Flush)(FSP_FILE_SYSTEM *, PVOID, FSP_FSCTL_FILE_INFO *);
    NTSTATUS (*GetFileInfo)(FSP_FILE_SYSTEM *, PVOID, FSP_FSCTL_FILE_INFO *);
    NTSTATUS (*SetBasicInfo)(FSP_FILE_SYSTEM *, PVOID, UINT32, UINT64, UINT64, UINT64, UINT64,
        FSP_FSCTL_FILE_INFO *);
    NTSTATUS (*SetFileSize)(FSP_FILE_SYSTEM *, PVOID, UINT64, BOOLEAN, FSP_FSCTL_FILE_INFO *);
    NTSTATUS (*CanDelete)(FSP_FILE_SYSTEM *, PVOID, PWSTR);
    NTSTATUS (*Rename)(FSP_FILE_SYSTEM *, PVOID, PWSTR, PWSTR, BOOLEAN);
    NTSTATUS (*GetSecurity)(FSP_FILE_SYSTEM *, PVOID, PSECURITY_DESCRIPTOR, SIZE_T *);
    NTSTATUS (*SetSecurity)(FSP_FILE_SYSTEM *, PVOID, SECURITY_INFORMATION, PSECURITY_DESCRIPTOR);
    NTSTATUS (*ReadDirectory)(FSP_FILE_SYSTEM *, PVOID, PWSTR, PWSTR, PVOID, ULONG, PULONG);
    NTSTATUS (*ResolveReparsePoints)(FSP_FILE_SYSTEM *, PWSTR, UINT32, BOOLEAN, PIO_STATUS_BLOCK, PVOID, PSIZE_T);
    NTSTATUS (*GetReparsePoint)(FSP_FILE_SYSTEM *, PVOID, PWSTR, PVOID, PSIZE_T);
    NTSTATUS (*SetReparsePoint)(FSP_FILE_SYSTEM *, PVOID, PWSTR, PVOID, SIZE_T);
    NTSTATUS (*DeleteReparsePoint)(FSP_FILE_SYSTEM *, PVOID, PWSTR, PVOID, SIZE_T);
    NTSTATUS (*GetStreamInfo)(FSP_FILE_SYSTEM *, PVOID, PVOID, ULONG, PULONG);
    NTSTATUS (*GetDirInfoByName)(FSP_FILE_SYSTEM *, PVOID, PWSTR, FSP_FSCTL_DIR_INFO *);
    PVOID _later[39];
} FSP_FILE_SYSTEM_INTERFACE;

typedef NTSTATUS FSP_FILE_SYSTEM_OPERATION_GUARD(FSP_FILE_SYSTEM *, FSP_FSCTL_TRANSACT_REQ *,
    FSP_FSCTL_TRANSACT_RSP *);
typedef NTSTATUS FSP_FILE_SYSTEM_OPERATION(FSP_FILE_SYSTEM *, FSP_FSCTL_TRANSACT_REQ *, FSP_FSCTL_TRANSACT_RSP *);

typedef struct _FSP_FILE_SYSTEM {
    UINT16 Version;
    PVOID UserContext;
    WCHAR VolumeName[256];
    HANDLE VolumeHandle;
    FSP_FILE_SYSTEM_OPERATION_GUARD *EnterOperation, *LeaveOperation;
    FSP_FILE_SYSTEM_OPERATION *Operations[22];
    const FSP_FILE_SYSTEM_INTERFACE *Interface;
    HANDLE DispatcherThread;
    ULONG DispatcherThreadCount;
    NTSTATUS DispatcherResult;
    PWSTR MountPoint;
    HANDLE MountHandle;
    UINT32 DebugLog;
    FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY OpGuardStrategy;
    SRWLOCK OpGuardLock;
    BOOLEAN UmFileContextIsUserContext2, UmFileContextIsFullContext;
    UINT16 _UmFlags;
} FSP_FILE_SYSTEM;

typedef struct {
    FSP_FSCTL_TRANSACT_REQ *Request;
    FSP_FSCTL_TRANSACT_RSP *Response;
} FSP_FILE_SYSTEM_OPERATION_CONTEXT;

typedef NTSTATUS GET_REPARSE_POINT_BY_NAME(FSP_FILE_SYSTEM *, PVOID, PWSTR, BOOLEAN, PVOID, PSIZE_T);
"""

# Bits of FSP_FSCTL_VOLUME_PARAMS: the word after FileInfoTimeout, from its lowest bit up, as MSVC lays them.
_FLAGS = (
    *("case_sensitive_search", "case_preserved_names", "unicode_on_disk", "persistent_acls", "reparse_points"),
    *("reparse_points_access_check", "named_streams", "hard_links", "extended_attributes", "read_only_volume"),
    *("post_cleanup_when_modified_only", "pass_query_directory_pattern", "always_use_double_buffering"),
    *("pass_query_directory_file_name", "flush_and_purge_on_cleanup", "device_control"),
    *("um_file_context_is_user_context2", "um_file_context_is_full_context"),
)
_LATER_FLAGS = (
    *("allow_open_in_kernel_mode", "case_preserved_extended_attributes", "wsl_features"),
    *("directory_marker_as_next_offset", "reject_irp_prior_to_transact0"),
)
FLAGS = {name: 1 << bit for bit, name in enumerate(_FLAGS)} | {
    name: 1 << bit for bit, name in enumerate(_LATER_FLAGS, 24)
}
TIMEOUT_FLAGS = {
    "volume_info_timeout_valid": 1,
    "dir_info_timeout_valid": 2,
    "security_timeout_valid": 4,
    "stream_info_timeout_valid": 8,
}

# Fields of FSP_FSCTL_VOLUME_PARAMS that are numbers, by the names of winfspy's arguments.
NUMBERS = {
    "sector_size": "SectorSize",
    "sectors_per_allocation_unit": "SectorsPerAllocationUnit",
    "max_component_length": "MaxComponentLength",
    "volume_creation_time": "VolumeCreationTime",
    "volume_serial_number": "VolumeSerialNumber",
    "transact_timeout": "TransactTimeout",
    "irp_timeout": "IrpTimeout",
    "irp_capacity": "IrpCapacity",
    "file_info_timeout": "FileInfoTimeout",
}
TIMEOUTS = {
    "volume_info_timeout": "VolumeInfoTimeout",
    "dir_info_timeout": "DirInfoTimeout",
    "security_timeout": "SecurityTimeout",
    "stream_info_timeout": "StreamInfoTimeout",
}
# What configure_FSP_FSCTL_VOLUME_PARAMS takes after the struct, in its order.
ARGUMENTS = (
    *NUMBERS,
    *_FLAGS,
    "um_reserved_flags",
    *_LATER_FLAGS,
    *("km_reserved_flags", "prefix", "file_system_name"),
    *TIMEOUT_FLAGS,
    "km_additional_reserved_flags",
    *TIMEOUTS,
)

types = cffi.FFI()
types.cdef(TYPES)
