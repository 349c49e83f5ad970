"""A gateway that is not ours: smpclient talks to Mallorn's device over the serial port PORT, in FRAMING, and uploads PATCH.

Prints one line of JSON with what the device answered.
"""

import asyncio
import json
import sys

from smpclient import SMPClient
from smpclient.generics import success
from smpclient.requests.os_management import EchoWrite, MCUMgrParametersRead, ResetWrite
from smpclient.transport.serial import SMPSerialRawTransport, SMPSerialTransport


async def answer(client, request):
    response = await client.request(request)
    assert success(response), response
    return response


async def main(port, framing, patch_path):
    with open(patch_path, "rb") as file:
        patch = file.read()
    transport = SMPSerialTransport() if framing == "console" else SMPSerialRawTransport(mtu=512)
    async with SMPClient(transport, port) as client:
        echo = await answer(client, EchoWrite(d="hello"))
        params = await answer(client, MCUMgrParametersRead())
        offsets = [offset async for offset in client.upload(patch)]
        await answer(client, ResetWrite())
    print(
        json.dumps(
            {
                "echo": echo.r,
                "bufSize": params.buf_size,
                "bufCount": params.buf_count,
                "uploaded": offsets[-1],
                "packets": len(offsets),
            }
        )
    )


asyncio.run(main(*sys.argv[1:]))
