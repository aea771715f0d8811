//! A filter at an interface's ingress: what the rings took, the kernel drops before it routes.
//!
//! It is a classic BPF program in traffic control's `bpf` classifier, direct-action: that needs no right to
//! load eBPF, no action module, and works in a user namespace.

use std::io;

use futures_util::StreamExt;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::{Error, Handle};

use super::netlink::Netlink;
use crate::io::sys::packet_socket::Instruction;

/// Our place among the filters of an interface: smaller ones come first.
const PRIORITY: u32 = 186;
/// `TC_H_CLSACT`, and what stands below it.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
/// `TCA_BPF_OPS_LEN`, `TCA_BPF_OPS`, `TCA_BPF_FLAGS`, and its flag "direct-action".
const OPERATIONS: u16 = 4;
const PROGRAM: u16 = 5;
const FLAGS: u16 = 8;
const DIRECT_ACTION: u32 = 1;

impl Netlink {
    /// Puts `program` at the ingress of an interface, in place of the one that an earlier call put there.
    pub(super) fn set_ingress(&self, interface: u32, program: &[Instruction]) -> io::Result<()> {
        let what = || format!("filter at the ingress of the interface of number {interface}");
        self.run(what, async |handle| {
            let qdisc = RouteNetlinkMessage::NewQueueDiscipline(clsact(interface));
            match request(&handle, qdisc, NLM_F_CREATE | NLM_F_EXCL).await {
                // Somebody else's will do.
                Err(Error::NetlinkError(error)) if error.raw_code() == -libc::EEXIST => {}
                other => other?,
            }
            // Only deleting and making anew replaces a program in all kernels; between the two the kernel
            // routes what is ours to where the routes say: nowhere.
            let _ = request(&handle, RouteNetlinkMessage::DelTrafficFilter(filter(interface)), 0).await;
            let mut made = filter(interface);
            made.attributes.push(TcAttribute::Options(options(program)));
            request(&handle, RouteNetlinkMessage::NewTrafficFilter(made), NLM_F_CREATE | NLM_F_EXCL).await
        })
    }

    /// Takes away what [`Netlink::set_ingress`] put there.
    pub(super) fn clear_ingress(&self, interface: u32) -> io::Result<()> {
        let what = || format!("remove the filter of the interface of number {interface}");
        self.run(what, async |handle| {
            request(&handle, RouteNetlinkMessage::DelTrafficFilter(filter(interface)), 0).await
        })
    }
}

async fn request(handle: &Handle, message: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut answers = handle.clone().request(message)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.raw_code() != 0
        {
            return Err(Error::NetlinkError(error));
        }
    }
    Ok(())
}

fn clsact(interface: u32) -> TcMessage {
    let header = TcHeader {
        index: interface.cast_signed(),
        handle: TcHandle::from(CLSACT_HANDLE),
        parent: TcHandle::from(CLSACT),
        ..TcHeader::default()
    };
    TcMessage::from_parts(header, vec![TcAttribute::Kind("clsact".into())])
}

fn filter(interface: u32) -> TcMessage {
    let protocol = u32::from((libc::ETH_P_ALL as u16).to_be());
    let header = TcHeader {
        index: interface.cast_signed(),
        parent: TcHandle::from(INGRESS),
        info: PRIORITY << 16 | protocol,
        ..TcHeader::default()
    };
    TcMessage::from_parts(header, vec![TcAttribute::Kind(TcFilterBpf::KIND.into())])
}

fn options(program: &[Instruction]) -> Vec<TcOption> {
    let mut octets = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        octets.extend(instruction.code.to_ne_bytes());
        octets.extend([instruction.jt, instruction.jf]);
        octets.extend(instruction.k.to_ne_bytes());
    }
    let attributes = [
        (OPERATIONS, (program.len() as u16).to_ne_bytes().to_vec()),
        (PROGRAM, octets),
        (FLAGS, DIRECT_ACTION.to_ne_bytes().to_vec()),
    ];
    let option = |(kind, value)| TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(kind, value)));
    attributes.into_iter().map(option).collect()
}
