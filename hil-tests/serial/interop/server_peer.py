"""A device that is not ours: an SMP server made of the smp package's framing and messages, on a PTY whose path it prints first.

GROUPS is "image" (groups 0 and 1, as MCUboot's recovery) or "file" (groups 0, 8 and 10, as a Zephyr application). Every 31st
answer to an upload is lost, after the data was taken. What was uploaded whole is written to OUT, how many answers were lost to
OUT.lost.
"""

import hashlib
import os
import pty
import sys
import tty

from smp import enumeration_management, error, file_management, header, image_management, os_management, packet

BUF_SIZE = 512
LOST_EACH = 31
groups, out_path = sys.argv[1:]
received = bytearray()
expected = 0
uploads = 0
lost = 0
# Of the v1 error codes.
NOT_SUPPORTED = 8
UNKNOWN = 1


class Fault(error.ErrorV1):
    """An error of any group."""


def fault(request, rc):
    class GroupFault(Fault):
        _GROUP_ID = request.group_id

    op = header.OP.READ_RSP if request.op == header.OP.READ else header.OP.WRITE_RSP
    body = bytes.fromhex("a1627263") + bytes([rc])
    head = header.Header(op, request.version, request.flags, len(body), request.group_id, request.sequence, request.command_id)
    return bytes(head) + body


def reply(request, kind, **fields):
    return kind(sequence=request.sequence, version=request.version, **fields).BYTES


def finish():
    with open(out_path, "wb") as file:
        file.write(received)
    with open(out_path + ".lost", "w") as file:
        file.write(str(lost))


def upload_image(frame, head):
    global received, expected
    request = image_management.ImageUploadWriteRequest.loads(frame)
    if request.off == 0:
        if request.len is None:
            return fault(head, UNKNOWN)
        if len(received) == 0 or len(received) == expected:
            received = bytearray()
            expected = request.len
    if request.off == len(received):
        assert len(request.data) % 16 == 0 or request.off + len(request.data) == expected
        received += request.data
    if len(received) == expected:
        finish()
    return reply(head, image_management.ImageUploadWriteResponse, off=len(received))


def upload_file(frame, head):
    global received, expected
    request = file_management.FileUploadRequest.loads(frame)
    if request.off == 0:
        received = bytearray()
        expected = request.len
    if request.off != len(received):
        return fault(head, UNKNOWN)
    received += request.data
    return reply(head, file_management.FileUploadResponse, off=len(received))


def handle(frame):
    """The answer to a request; None where it gets lost."""
    global uploads, lost
    head = header.Header.loads(frame[: header.Header.SIZE])
    key = (head.group_id, head.command_id)
    if key == (0, 0):
        return reply(head, os_management.EchoWriteResponse, r=os_management.EchoWriteRequest.loads(frame).d)
    if key == (0, 6):
        return reply(head, os_management.MCUMgrParametersReadResponse, buf_size=BUF_SIZE, buf_count=1)
    if groups == "image" and key == (1, 0):
        return reply(head, image_management.ImageStatesReadResponse, images=[])
    is_upload = key == ((1, 1) if groups == "image" else (8, 0))
    if is_upload:
        answer = upload_image(frame, head) if groups == "image" else upload_file(frame, head)
        uploads += 1
        if uploads % LOST_EACH != 0:
            return answer
        lost += 1
        return None
    if groups == "file" and key == (8, 1):
        return reply(head, file_management.FileStatusResponse, len=len(received))
    if groups == "file" and key == (8, 2):
        digest = hashlib.sha256(received).digest()
        kind = file_management.FileHashChecksumResponse
        return reply(head, kind, type="sha256", len=len(received), output=digest)
    if groups == "file" and key == (8, 4):
        finish()
        return reply(head, file_management.FileCloseResponse)
    if groups == "file" and key == (10, 1):
        return reply(head, enumeration_management.ListOfGroupsResponse, groups=(0, 8, 10))
    return fault(head, NOT_SUPPORTED)


def serve(master):
    text = b""
    decoder = None
    while True:
        text += os.read(master, 4096)
        *lines, text = text.split(b"\n")
        for line in lines:
            if line.startswith(packet.START_DELIMITER):
                decoder = packet.decode()
                next(decoder)
            elif decoder is None or not line.startswith(packet.CONTINUE_DELIMITER):
                continue
            try:
                decoder.send(line + b"\n")
            except StopIteration as done:
                decoder = None
                answer = handle(done.value)
                if answer is not None:
                    for piece in packet.encode(answer):
                        os.write(master, piece)


master, slave = pty.openpty()
tty.setraw(slave)
print(os.ttyname(slave), flush=True)
serve(master)
